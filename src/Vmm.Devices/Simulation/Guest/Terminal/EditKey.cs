namespace Vmm.Devices.Simulation;

/// <summary>What a person does to a line.</summary>
internal enum EditKey
{
    /// <summary>Nothing, or nothing yet.</summary>
    None,
    /// <summary>A character.</summary>
    Text,
    Enter,
    /// <summary>Ctrl-C.</summary>
    Abort,
    /// <summary>Ctrl-D: the end of input on an empty line, else as <see cref="Delete"/>.</summary>
    EndOrDelete,
    Backspace,
    Delete,
    Left,
    Right,
    Home,
    End,
    /// <summary>The line before this one.</summary>
    Older,
    /// <summary>The line after this one.</summary>
    Newer,
    /// <summary>Ctrl-U.</summary>
    EraseLine,
    /// <summary>Ctrl-W.</summary>
    EraseWord,
    /// <summary>Ctrl-K.</summary>
    EraseToEnd,
    /// <summary>Ctrl-L.</summary>
    ClearScreen,
    /// <summary>Tab.</summary>
    Complete,
}
