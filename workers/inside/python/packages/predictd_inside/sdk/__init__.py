"""What `cdsw` and `cml` offer: the functions themselves, one file for each of their targets."""
