-- Variables are encrypted by the gateway; the store keeps their bytes. Those that were kept as plain
-- text are not taken over, since SQL cannot encrypt them: they have to be set again.

ALTER TABLE projects DROP COLUMN environment;
ALTER TABLE projects ADD COLUMN variables BLOB NOT NULL DEFAULT x'';
ALTER TABLE deployments DROP COLUMN environment;
ALTER TABLE deployments ADD COLUMN variables BLOB NOT NULL DEFAULT x'';
DELETE FROM site_settings WHERE name = 'environment';
