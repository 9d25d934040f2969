-- Budgets: so much money in a day or a month, of a tenant, an agent or a tool.

CREATE TABLE app.budgets (
    id           uuid PRIMARY KEY,
    tenant_id    uuid NOT NULL REFERENCES app.tenants (id) ON DELETE CASCADE,
    scope        text NOT NULL CHECK (scope IN ('tenant', 'agent', 'tool')),
    agent_id     uuid,
    tool_id      uuid,
    -- A day or a month of the calendar, in UTC.
    period       text NOT NULL CHECK (period IN ('day', 'month')),
    -- Micro-units of the tenant's currency.
    amount_micro bigint NOT NULL CHECK (amount_micro BETWEEN 1 AND 1000000000000000),
    -- At which share of it owners are told. NULL: only when it is spent.
    warn_percent smallint CHECK (warn_percent BETWEEN 1 AND 99),
    -- Are calls refused that it has nothing left for?
    blocks       boolean NOT NULL,
    created_at   timestamptz NOT NULL,
    UNIQUE (tenant_id, id),
    UNIQUE NULLS NOT DISTINCT (tenant_id, scope, agent_id, tool_id, period),
    CHECK ((agent_id IS NOT NULL) = (scope = 'agent') AND (tool_id IS NOT NULL) = (scope = 'tool')),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES app.agents (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, tool_id) REFERENCES app.tools (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE app.budgets IS 'What may be spent in a day or a month. Written by quota; deleted when there is none any more. One that comes again has another id, and so another counter.';
SELECT app.protect('budgets');
GRANT SELECT, INSERT, UPDATE, DELETE ON app.budgets TO trunkline_app;
CREATE TRIGGER catalog AFTER INSERT OR UPDATE OR DELETE ON app.budgets FOR EACH ROW EXECUTE FUNCTION app.notify_catalog();

CREATE TABLE app.budget_notices (
    tenant_id uuid NOT NULL REFERENCES app.tenants (id) ON DELETE CASCADE,
    budget_id uuid NOT NULL,
    -- First day of the period.
    period    date NOT NULL,
    stage     text NOT NULL CHECK (stage IN ('warned', 'spent')),
    at        timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, budget_id, period, stage),
    FOREIGN KEY (tenant_id, budget_id) REFERENCES app.budgets (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE app.budget_notices IS 'Of which budgets owners were told in which period, so that they are told once. Written by quota; lives as long as its budget stays as it is.';
SELECT app.protect('budget_notices');
GRANT SELECT, INSERT, DELETE ON app.budget_notices TO trunkline_app;
