-- Agents that go on with one version of a tool, whatever the tool points at.

CREATE TABLE app.agent_pins (
    tenant_id  uuid NOT NULL,
    agent_id   uuid NOT NULL,
    tool_id    uuid NOT NULL,
    version_id uuid NOT NULL,
    pinned_by  uuid REFERENCES app.users (id),
    pinned_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, agent_id, tool_id),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES app.agents (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, tool_id, version_id) REFERENCES app.tool_versions (tenant_id, tool_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE app.agent_pins IS 'That an agent is given one version of a tool. Written by publishing; lives as long as agent and tool, or until somebody takes it back.';
SELECT app.protect('agent_pins');
CREATE INDEX agent_pins_by_tool ON app.agent_pins (tenant_id, tool_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON app.agent_pins TO trunkline_app;
CREATE TRIGGER catalog AFTER INSERT OR UPDATE OR DELETE ON app.agent_pins FOR EACH ROW EXECUTE FUNCTION app.notify_catalog();
