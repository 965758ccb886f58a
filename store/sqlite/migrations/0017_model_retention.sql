-- How many builds of a model are kept, and for how many days; -1: as the site.
ALTER TABLE models ADD COLUMN keep_builds INTEGER NOT NULL DEFAULT -1;
ALTER TABLE models ADD COLUMN keep_builds_days INTEGER NOT NULL DEFAULT -1;
