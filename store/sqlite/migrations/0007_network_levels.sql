-- What replicas, builds and experiments reach of the network: 'none', 'machine' or 'listen'.

ALTER TABLE deployments ADD COLUMN level TEXT NOT NULL DEFAULT 'machine';
UPDATE deployments SET level = 'none' WHERE network = 0;
ALTER TABLE deployments DROP COLUMN network;
ALTER TABLE deployments RENAME COLUMN level TO network;
ALTER TABLE builds ADD COLUMN network TEXT NOT NULL DEFAULT 'machine';
ALTER TABLE experiments ADD COLUMN network TEXT NOT NULL DEFAULT 'machine';
