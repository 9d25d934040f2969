-- Changes stand among many calls; the page of changes must not leaf through those.
CREATE INDEX audit_changes ON app.audit_entries (tenant_id, id) WHERE action <> 'tools/call';
