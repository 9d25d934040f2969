-- Each call is written to these two tables, and each index is written with it.

-- Found in order, and taken out by all three: one index does both.
ALTER TABLE app.audit_unchained DROP CONSTRAINT audit_unchained_pkey;
DROP INDEX app.audit_unchained_in_order;
ALTER TABLE app.audit_unchained ADD PRIMARY KEY (at, id, tenant_id);

-- Months are found by it, in a table that is written in the order of time: a summary of its blocks finds them as well. Reads the table once; what
-- is written to chains waits meanwhile, and calls do not.
DROP INDEX app.audit_chain_by_time;
CREATE INDEX audit_chain_by_time ON app.audit_chain USING brin (at) WITH (autosummarize = on);
