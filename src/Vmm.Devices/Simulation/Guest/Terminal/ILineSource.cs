namespace Vmm.Devices.Simulation;

/// <summary>Makes lines of the bytes that come in on a console.</summary>
internal interface ILineSource
{
    /// <summary>Most bytes of a line; the rest of it is dropped.</summary>
    internal const int LineBytesMax = 64 * 1024;

    /// <summary>Takes one byte.</summary>
    /// <param name="value">The byte.</param>
    /// <param name="echo">What to print for it is added here.</param>
    LineEvent Type(byte value, List<byte> echo);

    /// <summary>The line so far; the next one starts empty.</summary>
    string TakeLine();
}
