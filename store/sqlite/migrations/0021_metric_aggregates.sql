-- Metrics of many predictions, which are few: their windows have an index of their own.
CREATE INDEX metrics_of_aggregate ON metrics (source, start_ms) WHERE uuid IS NULL;
