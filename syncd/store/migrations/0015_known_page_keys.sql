-- Which pages hold a row that another page has: by an index, however many rows and pages there are.
-- Without a list of what is still to be entered: that one would be read through at each look.
CREATE INDEX known_page_keys ON syncd.known_page USING gin (keys) WITH (fastupdate = off);
