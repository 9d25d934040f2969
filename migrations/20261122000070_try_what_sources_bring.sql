-- Why a change waits that its source's policy would have let in: the check of the gate that it failed, and what was wrong.
ALTER TABLE app.definition_changes ADD COLUMN reason text NOT NULL DEFAULT '';
COMMENT ON COLUMN app.definition_changes.reason IS 'What the gate found, if the source''s policy alone would have taken the change; else empty.';
COMMENT ON COLUMN app.definitions.reason IS 'Why it is blocked; of one that waits, what the gate found, if the source''s policy alone would have let it in; else empty.';
