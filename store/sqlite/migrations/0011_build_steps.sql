-- One word for the steps of a build, in the schema as in the API.
ALTER TABLE builds RENAME COLUMN journey TO steps;
