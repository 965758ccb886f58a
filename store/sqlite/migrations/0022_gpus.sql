-- How many whole GPUs each replica or script gets.
ALTER TABLE models ADD COLUMN nvidia_gpus INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deployments ADD COLUMN nvidia_gpus INTEGER NOT NULL DEFAULT 0;
ALTER TABLE experiments ADD COLUMN nvidia_gpus INTEGER NOT NULL DEFAULT 0;
