-- What calls cost in the context of their agents' models, beside their price.

ALTER TABLE app.agents
    ADD COLUMN model_name        text NOT NULL DEFAULT '' CHECK (char_length(model_name) <= 80),
    -- Price of a million tokens that it reads, in micro-units of the tenant's currency. NULL: its contexts are not counted.
    ADD COLUMN model_input_micro bigint CHECK (model_input_micro BETWEEN 0 AND 1000000000000),
    ADD CONSTRAINT agents_model CHECK (model_name = '' OR model_input_micro IS NOT NULL);

-- NULL, all of them or none: not counted. tokens_out is there already.
ALTER TABLE app.calls
    ADD COLUMN tokens_definition bigint,
    -- Not all of it was counted.
    ADD COLUMN tokens_estimated  boolean,
    ADD COLUMN context_micro     bigint;

ALTER TABLE app.usage_rollups
    -- Calls whose tokens were counted, of which these are the sums.
    ADD COLUMN counted           bigint NOT NULL DEFAULT 0,
    ADD COLUMN tokens_out        bigint NOT NULL DEFAULT 0,
    ADD COLUMN tokens_definition bigint NOT NULL DEFAULT 0,
    ADD COLUMN context_micro     bigint NOT NULL DEFAULT 0;

-- Which form of the canonical entry was hashed. A release that does not know of forms writes the first.
ALTER TABLE app.audit_chain ADD COLUMN form smallint NOT NULL DEFAULT 1;
