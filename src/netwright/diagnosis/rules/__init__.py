"""The rules, one family of symptoms a file; every module here is read."""
