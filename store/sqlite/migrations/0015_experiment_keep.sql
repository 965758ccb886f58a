-- The patterns of the files that an experiment keeps, as JSON.
ALTER TABLE experiments ADD COLUMN keep TEXT NOT NULL DEFAULT '["*"]';
