"""Plain, checked values: heads, parameters, trials, exact losses."""
