-- What somebody wants otherwise than a description has it, kept when the description is read again.
ALTER TABLE app.api_operations
    -- Name, title, description, effect, and arguments that are pinned. See catalog::api::Overrides.
    ADD COLUMN overrides json NOT NULL DEFAULT '{}';
