create table if not exists visit (at timestamptz primary key default now());
