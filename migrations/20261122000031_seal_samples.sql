-- Arguments of sample calls may be somebody's data, or secrets: sealed under the tenant's data key like those.
ALTER TABLE app.probes
    -- NULL: nobody entered any, or they are still in the column `arguments`, from where they are sealed with the next try or renewal of the key.
    ADD COLUMN sample bytea,
    ADD CHECK (sample IS NULL OR arguments IS NULL);
