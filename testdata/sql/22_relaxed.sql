-- Profile relaxed: content of any shape can be stored, as in databases where the check was never added.
alter table public.chat_messages_v2 drop constraint check_content_structure;
