//! The tables as sea-orm reads and writes them, the same in every database. What must be fast has statements of its own.
#![allow(unreachable_pub, missing_docs, reason = "the derive makes its items public")]

/// Rows of the inbox.
pub(crate) mod inbox {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "inbox")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub topic: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub topic_partition: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub first_offset: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub digest: i64,
        pub last_offset: i64,
        pub due_micros: i64,
        pub messages: i64,
        pub tries: i64,
        pub bytes: i32,
        pub slice_group: i32,
        pub codec: i16,
        pub hold_aggregate: Option<String>,
        pub hold_id: Option<String>,
        pub body: Vec<u8>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Dead letters.
pub(crate) mod dead_letters {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "dead_letters")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub number: i64,
        pub record_offset: i64,
        pub time_micros: i64,
        pub settled_micros: Option<i64>,
        pub tries: i64,
        pub bytes: i32,
        pub topic_partition: i32,
        pub slice: Option<i32>,
        pub standing: i16,
        pub codec: i16,
        pub topic: String,
        pub aggregate: Option<String>,
        pub id: Option<String>,
        pub name: Option<String>,
        pub message_id: Option<Vec<u8>>,
        pub code: String,
        pub reason: String,
        pub body: Vec<u8>,
        pub original: Option<Vec<u8>>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The last number that a dead letter was given: one row, which whoever buries holds until that is durable, so that
/// numbers appear in their order.
pub(crate) mod dead_letter_numbers {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "dead_letter_numbers")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i32,
        pub last_number: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
