-- What the files of a build and its environment take on the disk; NULL: not measured.
ALTER TABLE builds ADD COLUMN size_bytes INTEGER;
