-- The hub's database and its roles: one that owns the tables (migrations, partitions), one for the
-- hub itself, which cannot change their shape, one for reports, which may only read. Run once, by the superuser.
CREATE ROLE holdfast_owner LOGIN;
CREATE ROLE holdfast_hub LOGIN;
CREATE ROLE holdfast_read LOGIN;
CREATE DATABASE holdfast OWNER holdfast_owner TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
REVOKE ALL ON DATABASE holdfast FROM PUBLIC;
REVOKE ALL ON DATABASE postgres FROM PUBLIC;
GRANT CONNECT ON DATABASE holdfast TO holdfast_hub;
GRANT CONNECT ON DATABASE holdfast TO holdfast_read;
\connect holdfast
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO holdfast_hub;
