-- Limits per day and of what runs at the same time, plans of the operator, and what becomes of agents that are refused too often.

CREATE TABLE app.plans (
    name       text PRIMARY KEY CHECK (name ~ '^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$'),
    per_minute int CHECK (per_minute BETWEEN 1 AND 6000000),
    burst      int CHECK (burst BETWEEN 1 AND 6000000),
    per_day    int CHECK (per_day BETWEEN 0 AND 2000000000),
    at_once    int CHECK (at_once BETWEEN 1 AND 10000),
    CHECK ((per_minute IS NULL) = (burst IS NULL))
);
COMMENT ON TABLE app.plans IS 'A named set of limits that a whole tenant may have at most. Global: an operator''s, from the command line. Written by quota; a plan that tenants have is not deleted.';
GRANT SELECT, INSERT, UPDATE, DELETE ON app.plans TO trunkline_app;

-- NULL: what the installation gives everybody.
ALTER TABLE app.tenants ADD COLUMN plan text REFERENCES app.plans (name);

ALTER TABLE app.limits
    ALTER COLUMN per_minute DROP NOT NULL,
    ALTER COLUMN burst DROP NOT NULL,
    -- Calls of one day (UTC). 0: none at all.
    ADD COLUMN per_day int CHECK (per_day BETWEEN 0 AND 2000000000),
    -- Calls that run at the same time.
    ADD COLUMN at_once int CHECK (at_once BETWEEN 1 AND 10000),
    ADD CONSTRAINT limits_rate_check CHECK ((per_minute IS NULL) = (burst IS NULL)),
    ADD CONSTRAINT limits_something_check CHECK (COALESCE(per_minute, per_day, at_once) IS NOT NULL),
    -- One agent on one tool has rates only.
    ADD CONSTRAINT limits_narrow_check CHECK (scope <> 'agent_tool' OR (per_day IS NULL AND at_once IS NULL));

ALTER TABLE app.agents
    DROP CONSTRAINT agents_state_check,
    -- throttled: a tenth of its rates until state_until; then it is active again, whatever the row says.
    ADD CONSTRAINT agents_state_check CHECK (state IN ('active', 'throttled', 'suspended')),
    -- Why it is not active: 'refusals', or empty where a person has suspended it.
    ADD COLUMN state_reason text NOT NULL DEFAULT '' CHECK (state_reason IN ('', 'refusals')),
    ADD COLUMN state_until timestamptz,
    ADD CONSTRAINT agents_until_check CHECK ((state = 'throttled') = (state_until IS NOT NULL)),
    -- When it was throttled, as far as that still counts.
    ADD COLUMN throttled_at timestamptz[] NOT NULL DEFAULT '{}',
    -- Its client cannot read answers other than 200: limits are told as a result.
    ADD COLUMN limits_as_results boolean NOT NULL DEFAULT false;
