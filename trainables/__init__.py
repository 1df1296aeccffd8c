"""Ray Tune trainables that build, train and measure one model with several heads."""
