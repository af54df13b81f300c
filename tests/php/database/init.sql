CREATE DATABASE app;
CREATE USER 'app'@'%' IDENTIFIED BY 'app';
GRANT ALL ON app.* TO 'app'@'%';
CREATE TABLE app.item (invoice INT, cents INT);
INSERT INTO app.item VALUES (1, 1000), (1, 2000), (2, 5);
