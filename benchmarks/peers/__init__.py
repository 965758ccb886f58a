"""The servers that predictd is measured against, and the floors; see the README."""
