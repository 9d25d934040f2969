-- Long lists of tools can be searched instead of read: two tools stand for all of them.
ALTER TABLE app.agents
    -- Are its callers shown two tools, to find and to call, instead of all?
    ADD COLUMN search_mode boolean NOT NULL DEFAULT false;
ALTER TABLE app.toolsets
    -- The same at its endpoint.
    ADD COLUMN search_mode boolean NOT NULL DEFAULT false;
