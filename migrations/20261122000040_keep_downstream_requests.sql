-- The requests that were made for a call, with their own durations: where to and how they ended, no path and no content.

ALTER TABLE app.calls
    -- {"requests": [{to, method, status, error, at_us, took_us}], "more": how many beyond}; NULL where none was made.
    ADD COLUMN downstream jsonb;
