-- Alerts of refused credentials, which are about the tenant as a whole.
ALTER TABLE app.alerts
    DROP CONSTRAINT alerts_kind_check,
    ADD CONSTRAINT alerts_kind_check CHECK (kind IN ('error_rate', 'p99', 'limits', 'probe', 'authentication'));
