namespace Vmm.Devices;

/// <summary>A source of frames that reads more than it was asked for.</summary>
internal interface IKeepsFrames
{
    /// <summary>The whole frames that were read and not taken yet, the oldest first.</summary>
    IEnumerable<byte[]> Kept { get; }
}
