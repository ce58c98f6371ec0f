"""The comparison as one page that opens offline, and its main chart as a picture."""
