namespace Vmm.Devices;

/// <summary>
/// Where a device writes its state when its machine is saved. Its members come with saved machines; a device that writes nothing starts
/// afresh.
/// </summary>
public abstract class StateWriter
{
    private protected StateWriter()
    {
    }
}

/// <summary>Where a device reads back what it wrote to a <see cref="StateWriter"/>.</summary>
public abstract class StateReader
{
    private protected StateReader()
    {
    }
}
