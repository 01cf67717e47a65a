//! The tables as sea-orm reads and writes them. What must be fast has statements of its own.
#![allow(unreachable_pub, missing_docs, reason = "the derive makes its items public")]

/// Streams by their number, which is the position of the first record.
pub(super) mod streams {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "streams")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub stream: i64,
        pub aggregate: String,
        pub id: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Events, and outcomes of commands without events: the columns that are not left to statements.
pub(super) mod events {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "events")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub position: i64,
        pub stream: i64,
        pub version: Option<i64>,
        pub time_micros: i64,
        pub schema_version: Option<i32>,
        pub codec: Option<i16>,
        pub outcome_codec: Option<i16>,
        pub dedup: Option<Vec<u8>>,
        pub event_name: Option<String>,
        pub outcome_body: Option<Vec<u8>>,
        pub payload: Option<Vec<u8>>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The names under which events of a type are stored.
pub(super) mod event_names {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "event_names")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub aggregate: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub event_name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Slices that another database has.
pub(super) mod away_slices {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "away_slices")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub slice: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Blocks of the archive.
pub(super) mod archive {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "archive")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub stream: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub to_version: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub from_version: i64,
        pub block: Vec<u8>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// What the database is to each slice, where several databases share them.
pub(super) mod slices {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "slices")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub slice: i32,
        pub hold: i16,
        pub since: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Small texts under names.
pub(super) mod documents {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "documents")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub name: String,
        pub version: i64,
        pub body: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Epochs, and how often slices were taken away, of each partition.
pub(super) mod partitions {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "partitions")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub partition: i32,
        pub epoch: i64,
        pub moves: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Snapshots.
pub(super) mod snapshots {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "snapshots")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub stream: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub version: i64,
        pub time_micros: i64,
        pub fingerprint: i64,
        pub codec: i16,
        pub payload: Vec<u8>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
