-- The settings that were set at run time keep their values under their new names.
UPDATE site_settings SET name = CASE name
    WHEN 'max_requests' THEN 'recycle_after_requests'
    WHEN 'max_memory' THEN 'recycle_above_memory'
    WHEN 'request_limit' THEN 'max_request_size'
    WHEN 'reply_limit' THEN 'max_response_size'
    WHEN 'unfinished_bytes' THEN 'max_inflight_bytes'
    WHEN 'connections' THEN 'max_connections'
    WHEN 'connections_per_address' THEN 'max_connections_per_address'
    WHEN 'queue_requests' THEN 'max_queued_requests'
    WHEN 'queue_bytes' THEN 'max_queued_bytes'
    WHEN 'queue_requests_total' THEN 'max_queued_requests_total'
    WHEN 'queue_bytes_total' THEN 'max_queued_bytes_total'
    WHEN 'upload_limit' THEN 'max_upload_size'
    WHEN 'processes' THEN 'max_processes'
    WHEN 'disk_limit' THEN 'max_disk'
    WHEN 'disk_reserve' THEN 'min_free_disk'
    WHEN 'concurrent_builds' THEN 'max_concurrent_builds'
    WHEN 'concurrent_experiments' THEN 'max_concurrent_experiments'
    ELSE name
END;
