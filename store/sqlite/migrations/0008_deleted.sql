-- The ids of what was deleted, until its files are gone as well. What has neither a row nor an id
-- in here was not deleted by this database.

CREATE TABLE deleted (
    id TEXT NOT NULL PRIMARY KEY
);

CREATE TRIGGER deleted_project AFTER DELETE ON projects
BEGIN INSERT OR IGNORE INTO deleted (id) VALUES (OLD.id); END;
CREATE TRIGGER deleted_model AFTER DELETE ON models
BEGIN INSERT OR IGNORE INTO deleted (id) VALUES (OLD.id); END;
CREATE TRIGGER deleted_build AFTER DELETE ON builds
BEGIN INSERT OR IGNORE INTO deleted (id) VALUES (OLD.id); END;
CREATE TRIGGER deleted_experiment AFTER DELETE ON experiments
BEGIN INSERT OR IGNORE INTO deleted (id) VALUES (OLD.id); END;
