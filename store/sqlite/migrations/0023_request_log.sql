-- Whether the requests of a model are listed, and an example of an answer beside that of a request.
ALTER TABLE models ADD COLUMN request_log INTEGER NOT NULL DEFAULT 1;
ALTER TABLE builds ADD COLUMN example_output TEXT;
