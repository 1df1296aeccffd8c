"""What a person or a program sees: text, tables, JSON, the live panel."""
