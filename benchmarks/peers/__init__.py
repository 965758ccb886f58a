"""The servers with which predictd is compared, and the floors; see the README."""
