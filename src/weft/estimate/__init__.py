"""Prices rows that people ask for: names and blanks become a serving case, a case becomes seconds with error bands."""
