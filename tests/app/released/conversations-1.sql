BEGIN TRANSACTION;
CREATE TABLE conversations (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        title TEXT NOT NULL,
        created REAL NOT NULL,
        updated REAL NOT NULL,
        pinned INTEGER NOT NULL DEFAULT 0,
        folder TEXT NOT NULL DEFAULT '',
        persona TEXT NOT NULL DEFAULT '',
        collections TEXT NOT NULL DEFAULT '[]',
        leaf INTEGER,
        deleted REAL
    );
INSERT INTO "conversations" VALUES(1,'80321f391159fd75','大熊猫住在哪里？',1.79569529909947252273e+09,1.79569529929315686227e+09,0,'动物','Tutor','["手册"]',3,NULL);
CREATE VIRTUAL TABLE message_terms USING fts5 (terms, tokenize = 'unicode61 remove_diacritics 0');
INSERT INTO message_terms (rowid, terms) VALUES (1, '大熊 熊猫 猫住 住在 在哪 哪里');
INSERT INTO message_terms (rowid, terms) VALUES (2, 'in the sea');
INSERT INTO message_terms (rowid, terms) VALUES (3, 'in sichuan');
CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
        parent_id INTEGER REFERENCES messages ON DELETE CASCADE,
        role TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
        content TEXT NOT NULL,
        created REAL NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('complete', 'partial', 'interrupted')),
        kind TEXT NOT NULL CHECK (kind IN ('said', 'notice', 'refusal')),
        origin TEXT,
        sources TEXT NOT NULL DEFAULT '',
        details TEXT NOT NULL DEFAULT '{}'
    );
INSERT INTO "messages" VALUES(1,'80321f391159fd75',NULL,'user','大熊猫住在哪里？',1.79569529912386369706e+09,'complete','said',NULL,'','{}');
INSERT INTO "messages" VALUES(2,'80321f391159fd75',1,'assistant','In the sea.',1.79569529915669679636e+09,'complete','said',NULL,'','{}');
INSERT INTO "messages" VALUES(3,'80321f391159fd75',1,'assistant','In Sichuan.',1.79569529929233694075e+09,'complete','said','{"model": "starter", "fingerprint": "ab12", "quantization": "int8", "version": "run-1", "sampling": {"temperature": 0.5}}','','{"tokens": 3}');
CREATE VIRTUAL TABLE title_terms USING fts5 (terms, tokenize = 'unicode61 remove_diacritics 0');
INSERT INTO title_terms (rowid, terms) VALUES (1, '大熊 熊猫 猫住 住在 在哪 哪里');
CREATE INDEX messages_by_parent ON messages (conversation_id, parent_id);
CREATE INDEX messages_by_parent_alone ON messages (parent_id);
CREATE INDEX messages_unfinished ON messages (state) WHERE state = 'partial';
COMMIT;
PRAGMA user_version = 1;
