namespace Vmm.Tool;

/// <summary>What kinds of values a configuration file may have somewhere.</summary>
[Flags]
internal enum ValueKinds
{
    None = 0,
    Text = 1,
    Integer = 2,
    Number = 4 | Integer,
    Boolean = 8,

    /// <summary>A table of keys, which describes a device.</summary>
    Table = 16,

    /// <summary>A table for each device.</summary>
    Tables = 32,
}
