-- How often this database was seen to be written to: an older copy of it has a smaller number.

ALTER TABLE site ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
