-- The record is dropped by month when its time has come: with a signed receipt for each tenant, and an entry that says so.

CREATE TABLE app.audit_receipts (
    tenant_id uuid NOT NULL,
    -- The month, as YYYYMM.
    month     text NOT NULL CHECK (month ~ '^[0-9]{6}$'),
    at        timestamptz NOT NULL,
    -- A signed note: which places of the chain have lost their entries.
    note      text NOT NULL,
    PRIMARY KEY (tenant_id, month)
);
COMMENT ON TABLE app.audit_receipts IS 'Signed receipts of what retention has dropped. Insert-only; written by the chainer in the transaction that drops.';
SELECT app.protect('audit_receipts');
CREATE POLICY chainer ON app.audit_receipts TO trunkline_chain USING (true) WITH CHECK (true);
GRANT SELECT ON app.audit_receipts TO trunkline_app;
GRANT SELECT, INSERT ON app.audit_receipts TO trunkline_chain;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON app.audit_receipts FOR EACH ROW EXECUTE FUNCTION app.refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON app.audit_receipts FOR EACH STATEMENT EXECUTE FUNCTION app.refuse_change();
ALTER TABLE app.audit_receipts ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE app.audit_receipts ENABLE ALWAYS TRIGGER never_truncated;

-- The chainer may add one kind of entry: that a month was dropped.
CREATE POLICY retention ON app.audit_entries FOR INSERT TO trunkline_chain WITH CHECK (action = 'record.month_dropped');
GRANT INSERT ON app.audit_entries TO trunkline_chain;
GRANT INSERT ON app.audit_unchained TO trunkline_chain;
-- Months are found by what lies in them.
CREATE INDEX audit_chain_by_time ON app.audit_chain (at);

-- Drops a month of the record. Never the last two, whoever asks.
CREATE FUNCTION app.drop_month(month text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF month !~ '^[0-9]{6}$' OR to_date(month, 'YYYYMM') > date_trunc('month', now() AT TIME ZONE 'UTC') - interval '2 months' THEN
        RAISE EXCEPTION 'month must be YYYYMM and at least two months ago, not %', month;
    END IF;
    EXECUTE format('DROP TABLE IF EXISTS app.%I', 'calls_' || month);
    EXECUTE format('DROP TABLE IF EXISTS app.%I', 'audit_entries_' || month);
END $$;
REVOKE ALL ON FUNCTION app.drop_month(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.drop_month(text) TO trunkline_chain;
