-- Since when sums of usage differ from the record, as the hourly check found. It looks there again until they do not, so that whoever was told hears
-- when it is over.
ALTER TABLE app.usage_checks ADD COLUMN wrong_from timestamptz;

ALTER TABLE app.alerts
    DROP CONSTRAINT alerts_kind_check,
    ADD CONSTRAINT alerts_kind_check CHECK (kind IN ('error_rate', 'p99', 'limits', 'probe', 'authentication', 'usage'));
