-- What every page of a tenant says beside its own subject, in the rows that are there for each tenant anyway.

-- Alerts that fire, as the last look left them.
ALTER TABLE app.alert_rounds ADD COLUMN firing int NOT NULL DEFAULT 0 CHECK (firing >= 0);
-- Days (UTC) whose sums were found to differ from the record, until they are made right.
ALTER TABLE app.usage_checks ADD COLUMN wrong_days date[] NOT NULL DEFAULT '{}';
