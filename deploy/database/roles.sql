-- The hub's database and its two roles: one that owns the tables (migrations, partitions), one for the
-- hub itself, which cannot change their shape. Run once, by the superuser.
CREATE ROLE holdfast_owner LOGIN;
CREATE ROLE holdfast_hub LOGIN;
CREATE DATABASE holdfast OWNER holdfast_owner TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
REVOKE ALL ON DATABASE holdfast FROM PUBLIC;
REVOKE ALL ON DATABASE postgres FROM PUBLIC;
GRANT CONNECT ON DATABASE holdfast TO holdfast_hub;
\connect holdfast
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO holdfast_hub;
