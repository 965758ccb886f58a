-- Whether a deployment's replicas may use the network.

ALTER TABLE deployments ADD COLUMN network INTEGER NOT NULL DEFAULT 1;
