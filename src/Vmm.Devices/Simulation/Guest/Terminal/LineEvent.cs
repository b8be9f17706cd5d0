namespace Vmm.Devices.Simulation;

/// <summary>What became of the line that is being typed.</summary>
internal enum LineEvent
{
    /// <summary>It goes on.</summary>
    None,
    /// <summary>The line is done.</summary>
    Line,
    /// <summary>The line was given up.</summary>
    Aborted,
    /// <summary>The end of input, on an empty line.</summary>
    End,
}
