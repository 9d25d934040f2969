-- A tenant's secrets are sealed anew when its data key is renewed; nothing else of a credential changes.

GRANT UPDATE (sealed) ON app.credentials TO trunkline_app;
