namespace Vmm.Devices;

/// <summary>A board whose machine goes on from a snapshot: its guest knows where the devices are.</summary>
internal interface ISavedPlaces
{
    /// <summary>The place of a device, by its name; null if the machine that was saved had none of that name.</summary>
    int? PlaceOf(string device);
}
