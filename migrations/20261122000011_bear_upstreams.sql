-- How calls treat an upstream that is slow, away or overrun, where somebody departs from the defaults.
CREATE TABLE app.resilience (
    tenant_id     uuid NOT NULL REFERENCES app.tenants (id) ON DELETE CASCADE,
    -- 'source:' and the id of an MCP server, or the origin of HTTP tools.
    upstream      text NOT NULL CHECK (char_length(upstream) BETWEEN 1 AND 300),
    -- Longest time of a call, in milliseconds; NULL: as long as its tool may take.
    deadline_ms   int CHECK (deadline_ms BETWEEN 100 AND 60000),
    -- Calls that may run at the same time, of all agents together; NULL: not bounded.
    at_once       int CHECK (at_once BETWEEN 1 AND 10000),
    -- Share of failures, in percent, at which it is left alone; NULL: never.
    breaker_share int CHECK (breaker_share BETWEEN 1 AND 100),
    -- For how long, in seconds.
    breaker_s     int NOT NULL CHECK (breaker_s BETWEEN 1 AND 600),
    -- How often a call that is safe to repeat is tried again.
    retries       int NOT NULL CHECK (retries BETWEEN 0 AND 3),
    PRIMARY KEY (tenant_id, upstream)
);
COMMENT ON TABLE app.resilience IS 'How calls treat one upstream. Written by quota; deleted when the defaults apply again.';
SELECT app.protect('resilience');
GRANT SELECT, INSERT, UPDATE, DELETE ON app.resilience TO trunkline_app;
CREATE TRIGGER catalog AFTER INSERT OR UPDATE OR DELETE ON app.resilience FOR EACH ROW EXECUTE FUNCTION app.notify_catalog();
